"""`python -m ai_sysadmin` is `ai-sysadmin`."""

from ai_sysadmin.cli.main import main

if __name__ == "__main__":
    main()
