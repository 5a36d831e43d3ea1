#!/bin/sh
# Prints deploy/.env with new secrets: deploy/new-secrets.sh > deploy/.env
set -eu
umask 077

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

for name in POSTGRES MIGRATOR RECORDER PROJECTOR WORKER API READER SIGNER; do
    echo "${name}_PASSWORD=$(password)"
done
echo "# The signer's: keep it; the signer logs the public half each time it signs (key=…)."
echo "SIGNING_KEY=$(head -c 32 /dev/urandom | base64)"
echo "# The host product verifies notices with it."
echo "NOTICE_SECRET=whsec_$(head -c 32 /dev/urandom | base64)"
cat <<'END'
# Yours to fill in:
STRIPE_KEY=
STRIPE_WEBHOOK_SECRET=
JWKS=
JWT_ISSUER=
JWT_AUDIENCE=
CORS_ORIGINS=
# Where your product takes notices, and where it shows the Usage page; may stay empty:
NOTICE_URL=
USAGE_PAGE=
END
