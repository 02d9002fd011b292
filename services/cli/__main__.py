"""`python -m services.cli` is `dsm`: how `dsm up` starts further processes of itself."""

from services.cli.main import main

main()
