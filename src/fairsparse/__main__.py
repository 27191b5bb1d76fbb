"""`python -m fairsparse` is the command line."""

from fairsparse.cli.program import main

if __name__ == "__main__":
    main()
