"""What usually goes wrong, looked for before it does (`convault doctor`).

Each file looks at one thing: what is asked of a server or of this machine is apart from what
follows from the answer, which is pure.
"""
