"""The `imagewarehouse` command: one module a command."""
