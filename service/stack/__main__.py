"""`python -m service.stack`."""

from service.stack.control import main

main()
