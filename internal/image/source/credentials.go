package source

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"noid/internal/errs"
)

// credentials are docker's for the repository, from its file or a helper, or else podman's.
func credentials(ctx context.Context, repo name.Repository, host string) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repo)
	if err != nil {
		return nil, errs.WithHint(fmt.Errorf("looking for the credentials of %s: %w", host, err), "check ~/.docker/config.json, or log in again: docker login "+host)
	}
	if auth == authn.Anonymous {
		return podmanCredentials(path.Join(host, repo.RepositoryStr())), nil
	}
	return auth, nil
}

// podmanCredentials looks into podman's file: authn.DefaultKeychain does so only where docker has no file, and not for
// Docker Hub. Credentials may be for a part of a registry, see containers-auth.json(5).
func podmanCredentials(repo string) authn.Authenticator {
	user, _ := os.UserHomeDir()
	for _, file := range []string{os.Getenv("REGISTRY_AUTH_FILE"), under(os.Getenv("XDG_RUNTIME_DIR"), "containers/auth.json"),
		under(os.Getenv("XDG_CONFIG_HOME"), "containers/auth.json"), under(user, ".config/containers/auth.json")} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		var c struct{ Auths map[string]authn.AuthConfig }
		if json.Unmarshal(data, &c) != nil {
			continue
		}
		for key := repo; key != "."; key = path.Dir(key) {
			if auth, ok := c.Auths[key]; ok {
				return authn.FromConfig(auth)
			}
		}
	}
	return authn.Anonymous
}

func under(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// hostOf is what people call the registry of repo.
func hostOf(repo name.Repository) string { return strings.TrimPrefix(repo.RegistryStr(), "index.") }
