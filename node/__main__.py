"""`python -m capanode.node` is `capanode`."""

from capanode.node.cli import main

if __name__ == "__main__":
    main()
