package registryhttp

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ProvePush asks whether somebody may push to a repository, and leaves no blob and no
// upload there: it begins the upload of a blob and takes that back. The registries in insecure,
// host[:port], are spoken to without TLS or with a certificate that nobody checks. A
// refusal is a [*transport.Error]. cancelled is false when the registry would not take
// the upload back; it then forgets it by itself, as it does those of clients that died.
func ProvePush(ctx context.Context, repository string, auth authn.Keychain, insecure []string) (cancelled bool, err error) {
	repo, err := name.NewRepository(repository)
	if err == nil && slices.Contains(insecure, repo.RegistryStr()) {
		repo, err = name.NewRepository(repository, name.Insecure)
	}
	if err != nil {
		return false, fmt.Errorf("reading the repository: %w", err)
	}
	who, err := authn.Resolve(ctx, auth, repo)
	if err != nil {
		return false, err
	}
	own := Own(insecure)
	defer own.CloseIdleConnections()
	entered, err := transport.NewWithContext(ctx, repo.Registry, who, own, []string{repo.Scope(transport.PushScope)})
	if err != nil {
		return false, fmt.Errorf("entering %s: %w", repo.RegistryStr(), err)
	}
	client := &http.Client{
		Transport:     entered,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	begin, err := send(ctx, client, http.MethodPost, repo.Scheme()+"://"+repo.RegistryStr()+"/v2/"+repo.RepositoryStr()+"/blobs/uploads/")
	if err != nil {
		return false, err
	}
	defer func() { _ = begin.Body.Close() }() // what a refusal says is read below
	if err := transport.CheckError(begin, http.StatusAccepted); err != nil {
		return false, fmt.Errorf("beginning an upload to %s: %w", repo, err)
	}
	at, err := begin.Location()
	if err != nil {
		return false, fmt.Errorf("beginning an upload to %s: the answer names no place for it", repo)
	}
	end, err := send(ctx, client, http.MethodDelete, at.String())
	if err != nil {
		return false, nil //nolint:nilerr // that it could be begun is what was asked
	}
	return end.StatusCode/100 == 2, end.Body.Close()
}

func send(ctx context.Context, client *http.Client, method, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}
