package ado

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's padding; OAEP does not depend on collision resistance
	"crypto/sha256"
	"fmt"
	"hash"
	"math/big"
)

// keyBits is the size of an agent's key; the service refuses shorter ones
// (protocol §2.2, §3.1).
const keyBits = 2048

// GenerateKey makes an agent's key. It takes about 100 ms of one core.
func GenerateKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("generating the agent's key: %w", err)
	}
	return key, nil
}

// PublicKeyOf returns the public half of key as it travels.
func PublicKeyOf(key *rsa.PrivateKey) *PublicKey {
	return &PublicKey{Exponent: big.NewInt(int64(key.E)).Bytes(), Modulus: key.N.Bytes()}
}

// openSessionKey returns the AES key inside k, or nil when messages are plain.
// The padding is SHA-1's unless the server says otherwise; the other one is
// tried too (protocol §4.1).
func openSessionKey(key *rsa.PrivateKey, k *SessionKey) ([]byte, error) {
	if k == nil || len(k.Value) == 0 {
		return nil, nil
	}
	aesKey := k.Value
	if k.Encrypted {
		hashes := []func() hash.Hash{sha1.New, sha256.New}
		if k.EncryptionPadding == PaddingOAEPSHA256 {
			hashes[0], hashes[1] = hashes[1], hashes[0]
		}
		var err error
		for _, h := range hashes {
			if aesKey, err = rsa.DecryptOAEP(h(), nil, key, k.Value, nil); err == nil {
				break
			}
		}
		if err != nil {
			return nil, fmt.Errorf("opening the session's key: %w", err)
		}
	}
	switch len(aesKey) {
	case 16, 24, 32:
		return aesKey, nil
	}
	return nil, fmt.Errorf("the session's key has %d bytes, want 16, 24 or 32", len(aesKey))
}
