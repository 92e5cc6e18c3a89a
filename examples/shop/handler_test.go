package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type shelf []Item

func (s *shelf) Add(_ context.Context, it Item) (Item, error) {
	it.ID = int64(len(*s) + 1)
	*s = append(*s, it)
	return it, nil
}
func (s *shelf) All(context.Context) ([]Item, error) { return *s, nil }

func TestAnItemThatWasPostedIsListed(t *testing.T) {
	h := NewHandler(&shelf{})
	for _, c := range []struct {
		method, body string
		status       int
		want         string
	}{
		{"POST", `{"name":"pear","cents":80}`, http.StatusCreated, `"id":1`},
		{"POST", `{"cents":80}`, http.StatusBadRequest, "want"},
		{"GET", "", http.StatusOK, `"pear"`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "/items", strings.NewReader(c.body)))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s = %d %s, want %d with %s", c.method, c.body, w.Code, w.Body, c.status, c.want)
		}
	}
}
