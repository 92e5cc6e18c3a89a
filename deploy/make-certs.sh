#!/usr/bin/env bash
# Makes the certificates with which agents and buildkitd know one another, and
# prints the two Secrets as YAML: make-certs.sh | kubectl apply -n dockless -f -
# Nothing is kept: run it again to replace the certificate authority.
set -euo pipefail

# A year: the certificates are replaced by running this again, on a calendar.
days=365
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days "$days" \
  -subj "/CN=dockless BuildKit" -keyout ca-key.pem -out ca.pem 2>/dev/null

issue() { # name, extended key usage, alternative names
  mkdir "$1"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
    -subj "/CN=$1" -keyout "$1/key.pem" -out "$1/csr.pem" 2>/dev/null
  openssl x509 -req -in "$1/csr.pem" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days "$days" \
    -extfile <(printf 'extendedKeyUsage=%s\n%s\n' "$2" "${3:+subjectAltName=$3}") -out "$1/cert.pem" 2>/dev/null
}
issue buildkit-daemon serverAuth DNS:buildkitd,DNS:buildkitd.dockless.svc,DNS:localhost,IP:127.0.0.1
issue buildkit-client clientAuth ""

for name in buildkit-daemon buildkit-client; do
  printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s-certs\ndata:\n' "$name"
  for file in ca.pem "$name/cert.pem" "$name/key.pem"; do
    printf '  %s: %s\n' "$(basename "$file")" "$(base64 -w0 "$file")"
  done
done
