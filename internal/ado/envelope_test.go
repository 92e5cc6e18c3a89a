package ado

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// encrypt is the other side of openEnvelope, by protocol §5.2.
func encrypt(t testing.TB, key, iv, text []byte) string {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	n := aes.BlockSize - len(text)%aes.BlockSize
	text = append(bytes.Clone(text), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(text, text)
	return base64.StdEncoding.EncodeToString(text)
}

// A published vector: NIST SP 800-38A, F.2.5, CBC-AES256, first block.
func TestAPublishedVectorIsDecrypted(t *testing.T) {
	key := unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
	iv := unhex(t, "000102030405060708090a0b0c0d0e0f")
	want := unhex(t, "6bc1bee22e409f96e93d7e117393172a")
	body := encrypt(t, key, iv, want)
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil || !bytes.Equal(raw[:16], unhex(t, "f58c4c04d6e5f1ba779eabfb5f7bfbd6")) {
		t.Fatalf("the test encrypts to %x, want the vector's ciphertext", raw)
	}
	if got, err := openEnvelope(key, Envelope{IV: iv, Body: body}); err != nil || !bytes.Equal(got, want) {
		t.Errorf("openEnvelope = %x, %v, want %x", got, err, want)
	}
}

func TestA10MessagesAreOpened(t *testing.T) {
	key, iv := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 16)
	text := []byte(`{"jobId":"x"}`)
	for name, e := range map[string]Envelope{
		"encrypted":        {IV: iv, Body: encrypt(t, key, iv, text)},
		"with a BOM":       {IV: iv, Body: encrypt(t, key, iv, append([]byte("\xef\xbb\xbf"), text...))},
		"plain":            {Body: string(text)},
		"plain with a BOM": {Body: "\xef\xbb\xbf" + string(text)},
	} {
		if got, err := openEnvelope(key, e); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, text)
		}
	}
	if got, err := openEnvelope(nil, Envelope{IV: iv, Body: string(text)}); err != nil || !bytes.Equal(got, text) {
		t.Errorf("session without a key: %q, %v, want the body", got, err)
	}
	broken := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, e := range map[string]Envelope{
		"no base64": {IV: iv, Body: "%"}, "no block": {IV: iv, Body: ""}, "half a block": {IV: iv, Body: "AAAA"},
		"wrong padding": {IV: iv, Body: broken}, "short vector": {IV: iv[:8], Body: broken},
	} {
		if _, err := openEnvelope(key, e); !errors.Is(err, ErrMalformedMessage) {
			t.Errorf("%s: %v, want ErrMalformedMessage", name, err)
		}
	}
}

// Protocol §4.1: OAEP with SHA-1 unless negotiated; robust implementations try
// SHA-1, then SHA-256.
func TestA10SessionKeysAreOpenedWithEitherPadding(t *testing.T) {
	private, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	aesKey := bytes.Repeat([]byte{3}, 32)
	one, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, &private.PublicKey, aesKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	two, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &private.PublicKey, aesKey, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*SessionKey{
		"SHA-1": {Encrypted: true, Value: one}, "SHA-256": {Encrypted: true, Value: two},
		"SHA-256 as named": {Encrypted: true, Value: two, EncryptionPadding: PaddingOAEPSHA256}, "raw": {Value: aesKey},
	} {
		if got, err := openSessionKey(private, k); err != nil || !bytes.Equal(got, aesKey) {
			t.Errorf("%s: %v, want the key", name, err)
		}
	}
	for name, k := range map[string]*SessionKey{"absent": nil, "empty": {Encrypted: true}} {
		if got, err := openSessionKey(private, k); err != nil || got != nil {
			t.Errorf("%s: %v, want no key: messages are plain", name, err)
		}
	}
	for name, k := range map[string]*SessionKey{"foreign": {Encrypted: true, Value: make([]byte, 256)}, "short": {Value: make([]byte, 5)}} {
		if _, err := openSessionKey(private, k); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Protocol §2.2.
func TestA5TheRegisteredKeyHas2048BitsWithoutSignPadding(t *testing.T) {
	private, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if p := PublicKeyOf(private); !bytes.Equal(p.Exponent, []byte{1, 0, 1}) || len(p.Modulus) != 256 {
		t.Errorf("public key = %x, %d bytes, want AQAB and 256 bytes without sign padding", p.Exponent, len(p.Modulus))
	}
}

func FuzzOpenEnvelope(f *testing.F) {
	key, iv := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{9}, 16)
	f.Add(key, iv, encrypt(f, key, iv, []byte("{}")))
	f.Add(key, iv, "AAAA")
	f.Add([]byte{}, iv, "{}")
	f.Fuzz(func(t *testing.T, key, iv []byte, body string) {
		text, err := openEnvelope(key, Envelope{IV: iv, Body: body})
		if err != nil && (!errors.Is(err, ErrMalformedMessage) || text != nil) {
			t.Errorf("openEnvelope = %q, %v, want ErrMalformedMessage and nothing else", text, err)
		}
		if len(text) > len(body) {
			t.Errorf("%d bytes came out of %d", len(text), len(body))
		}
	})
}
