package main

import (
	"context"
	"encoding/json"
	"net/http"
)

// items is what the handler needs of a [Store].
type items interface {
	Add(context.Context, Item) (Item, error)
	All(context.Context) ([]Item, error)
}

// NewHandler serves GET and POST /items over store.
func NewHandler(store items) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items", func(w http.ResponseWriter, r *http.Request) {
		all, err := store.All(r.Context())
		answer(w, http.StatusOK, all, err)
	})
	mux.HandleFunc("POST /items", func(w http.ResponseWriter, r *http.Request) {
		var it Item
		if err := json.NewDecoder(r.Body).Decode(&it); err != nil || it.Name == "" || it.Cents < 0 {
			http.Error(w, "want {\"name\": …, \"cents\": …}", http.StatusBadRequest)
			return
		}
		it, err := store.Add(r.Context(), it)
		answer(w, http.StatusCreated, it, err)
	})
	return mux
}

func answer(w http.ResponseWriter, status int, body any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone; nobody is left to tell
}
