"""Write the OpenAPI document that `/docs.json` serves to the file named on the command line."""

import json
import sys
from pathlib import Path

from service.http.app import create_app

if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(create_app().openapi(), indent=1))
