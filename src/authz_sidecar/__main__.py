"""`python -m authz_sidecar` is the `authz-sidecar` command."""

from authz_sidecar.cli.main import main

if __name__ == "__main__":
    main()
