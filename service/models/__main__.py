"""`python -m service.models`."""

from service.models.admin import main

main()
