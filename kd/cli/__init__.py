"""The command `kd`: one file per verb.

A new verb is a new file in this folder, which `kd.cli.parser` finds: `kd foo` runs `foo.py`, and
`kd import` runs `import_.py`, because no module can be called `import`. The file defines:

    ORDER = 10                          # its place in `kd --help`
    HELP = "..."                        # one line for `kd --help`
    DESCRIPTION = "..."                 # a paragraph for `kd foo --help`
    EXAMPLES = (("kd foo x", "..."),)   # commands to try, each with what it does
    EPILOG = "..."                      # optional: text below the options
    OVERRIDES = True                    # optional: unknown arguments become `options.overrides`
    READS_RUNS = False                  # optional: it reads no run directory and takes no --trust
    RESUMES = True                      # optional: stopped, it keeps what it has, and goes on there
    def add_arguments(parser) -> None:  # adds its arguments to an argparse.ArgumentParser
    def act(options) -> int:            # does the work and returns the exit status

`act` raises InputError or RunError for problems that a user can solve. Imports of jax and NumPy,
and of anything that imports them, belong inside `act`: `kd --help` must stay quick.
"""
