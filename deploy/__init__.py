"""Running Creditwell somewhere: the image, the containers, and the local stack.

Used from the source tree, never shipped.

    local   everything on one machine: servers, processes, demo, the stand-in for Stripe
    docs    the tables of `docs/` that follow from the code
    monitoring  alerts and dashboards
    client   what feature teams install to ask the API
    sbom     what the image is made of, as CycloneDX
    verifier   one file that checks the log without the product

Beside them: `Dockerfile` and `compose.yaml`, `roles.sql` (logins of the database),
`new-secrets.sh`, `emitter/` (the wheel that other teams install).
"""
