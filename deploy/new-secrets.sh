#!/bin/sh
# Writes deploy/.env with new secrets, for its owner's eyes alone; one that is there is left as it is.
# Usage: new-secrets.sh [FILE]
set -eu
umask 077
file=${1:-$(dirname "$0")/.env}

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# An Ed25519 key is 32 random bytes; openssl takes them behind the header of their form (RFC 8410). Without it the
# signer's log has the public half.
public_half() {
    { printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040'; printf '%s' "$1" | base64 -d; } |
        openssl pkey -inform DER -pubout -outform DER 2>/dev/null | tail -c 32 | base64
}

secrets() {
    for name in POSTGRES MIGRATOR RECORDER PROJECTOR WORKER API READER ANALYST SIGNER; do
        echo "${name}_PASSWORD=$(password)"
    done
    echo "# The signer's: keep it. Its public half is for whoever verifies; the signer logs it, too (key=…)."
    echo "SIGNING_KEY=$signing_key"
    echo "# CREDITWELL_PUBLIC_KEY=$public_key"
    echo "PUBLIC_KEY=$known_key"
    echo "# The host product verifies notices with it."
    echo "NOTICE_SECRET=whsec_$(head -c 32 /dev/urandom | base64)"
    cat <<'END'
# Yours to fill in:
STRIPE_KEY=
STRIPE_WEBHOOK_SECRET=
JWKS=
JWT_ISSUER=
JWT_AUDIENCE=
PUBLIC_URL=
CORS_ORIGINS=
# The addresses of your proxy as the API sees them, for example 172.16.0.0/12; may stay empty:
API_PROXIES=
# Where your product takes notices, and where it shows the Usage page; may stay empty:
NOTICE_URL=
USAGE_PAGE=
# Witnesses outside for the signer (docs/log-format.md); may stay empty. TSA_CA is a path inside the containers, such as
# /var/lib/creditwell/anchors/tsa-ca.pem:
TSA_URL=
TSA_CA=
WITNESS_URL=
WITNESS_KEY=
END
}

if [ -e "$file" ]; then
    echo "$file is there already: move it away first, or name another file" >&2
    exit 1
fi
signing_key=$(head -c 32 /dev/urandom | base64)
known_key=$(public_half "$signing_key")
public_key=${known_key:-see the log of the signer}
text=$(secrets)
set -C # whoever made the file meanwhile keeps it
printf '%s\n' "$text" >"$file"
echo "$file is written, for you alone to read (0600). The rest of it is yours to fill in."
echo "Public half of the signing key, for whoever verifies: CREDITWELL_PUBLIC_KEY=$public_key"
