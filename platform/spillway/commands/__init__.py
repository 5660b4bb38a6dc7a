"""The subcommands of `spillway`, one module each; `cli` says what such a module has."""
