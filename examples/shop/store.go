package main

import (
	"context"
	"database/sql"
	"fmt"
)

// Item is one thing on sale. Cents is its price.
type Item struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Cents int64  `json:"cents"`
}

// Store keeps items in MySQL. It is safe for concurrent use.
type Store struct{ db *sql.DB }

// Migrate makes the table when it is not there yet.
func (s *Store) Migrate(ctx context.Context) error {
	const table = `CREATE TABLE IF NOT EXISTS items (
		id BIGINT AUTO_INCREMENT PRIMARY KEY,
		name VARCHAR(200) NOT NULL UNIQUE,
		cents BIGINT NOT NULL)`
	if _, err := s.db.ExecContext(ctx, table); err != nil {
		return fmt.Errorf("making the items table: %w", err)
	}
	return nil
}

// Add stores an item and returns it with its id.
func (s *Store) Add(ctx context.Context, it Item) (Item, error) {
	res, err := s.db.ExecContext(ctx, "INSERT INTO items (name, cents) VALUES (?, ?)", it.Name, it.Cents)
	if err != nil {
		return Item{}, fmt.Errorf("adding %q: %w", it.Name, err)
	}
	if it.ID, err = res.LastInsertId(); err != nil {
		return Item{}, fmt.Errorf("adding %q: %w", it.Name, err)
	}
	return it, nil
}

// All returns every item by name.
func (s *Store) All(ctx context.Context) ([]Item, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id, name, cents FROM items ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("listing items: %w", err)
	}
	defer rows.Close()
	items := []Item{}
	for rows.Next() {
		var it Item
		if err := rows.Scan(&it.ID, &it.Name, &it.Cents); err != nil {
			return nil, fmt.Errorf("listing items: %w", err)
		}
		items = append(items, it)
	}
	return items, rows.Err()
}
