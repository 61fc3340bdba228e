package golang

import (
	"encoding/base64"
	"encoding/json"
)

// EncodeWord makes of v, which has to be what JSON can hold, a word that needs no quoting in the go command's
// flags, for this program to be called with again.
func EncodeWord(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // v has types that cannot be
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// DecodeWord reads into v what EncodeWord has made.
func DecodeWord(s string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
