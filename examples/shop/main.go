// Shop is a small HTTP service over one MySQL table: the kind of program whose
// pipeline needs an image build, a database beside the test, and a registry.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv("SHOP_DSN"), os.Getenv("SHOP_ADDR")); err != nil {
		slog.Error("shop stopped", "err", err)
		os.Exit(1)
	}
}

// run serves the shop on addr (default :8080) until ctx ends.
func run(ctx context.Context, dsn, addr string) error {
	if dsn == "" {
		return errors.New("SHOP_DSN is empty: set it to user:password@tcp(host:port)/database")
	}
	if addr == "" {
		addr = ":8080"
	}
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	defer db.Close()
	store := &Store{db: db}
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	srv := &http.Server{Addr: addr, Handler: NewHandler(store), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.ListenAndServe() }()
	slog.Info("shop serves", "addr", addr)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return srv.Shutdown(ctx)
	}
}
