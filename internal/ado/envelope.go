package ado

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"fmt"
)

// openEnvelope returns the text of e: as it is when there is no key or no
// initialisation vector, else decrypted with AES-CBC, without its padding and
// without a byte order mark (protocol §5.2). The cipher has no authentication:
// a wrong key mostly shows as wrong padding, and at last as unreadable JSON.
// Every error is an [ErrMalformedMessage] and says nothing about the content.
func openEnvelope(key []byte, e Envelope) ([]byte, error) {
	if len(key) == 0 || len(e.IV) == 0 {
		return trimBOM([]byte(e.Body)), nil
	}
	text, err := base64.StdEncoding.DecodeString(e.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: the body is not base64", ErrMalformedMessage)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformedMessage, err)
	}
	if len(e.IV) != aes.BlockSize {
		return nil, fmt.Errorf("%w: the initialisation vector has %d bytes, want %d", ErrMalformedMessage, len(e.IV), aes.BlockSize)
	}
	if len(text) == 0 || len(text)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: %d bytes are not a number of blocks", ErrMalformedMessage, len(text))
	}
	cipher.NewCBCDecrypter(block, e.IV).CryptBlocks(text, text)
	padding := int(text[len(text)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, fmt.Errorf("%w: the padding is wrong", ErrMalformedMessage)
	}
	for _, b := range text[len(text)-padding:] {
		if int(b) != padding {
			return nil, fmt.Errorf("%w: the padding is wrong", ErrMalformedMessage)
		}
	}
	return trimBOM(text[:len(text)-padding]), nil
}
