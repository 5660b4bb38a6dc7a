"""The gateway's side of the engines: where a request goes, and how it goes on when its engine dies."""
