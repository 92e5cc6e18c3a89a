//go:build integration

package main

import (
	"database/sql"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestTheShopKeepsItemsInMySQL runs against the database of docker-compose.yml,
// whose address SHOP_DSN names.
func TestTheShopKeepsItemsInMySQL(t *testing.T) {
	db, err := sql.Open("mysql", os.Getenv("SHOP_DSN"))
	if err != nil {
		t.Fatalf("opening SHOP_DSN: %v", err)
	}
	defer db.Close()
	store := &Store{db: db}
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := NewHandler(store)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/items", strings.NewReader(`{"name":"plum","cents":30}`)))
	if w.Code != http.StatusCreated {
		t.Fatalf("POST /items = %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/items", nil))
	if !strings.Contains(w.Body.String(), `"plum"`) || !strings.Contains(w.Body.String(), `"apple"`) {
		t.Errorf("GET /items = %s, want the new plum and the apple of seed.sql", w.Body)
	}
}
