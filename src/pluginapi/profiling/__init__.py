"""Say where a running plugin process spends its time, from outside of it.

`stacks`
    What samples add up to.
`python_process`, `native_process`
    Take samples of a process: with py-spy, and with the kernel's own sampling.
`symbols`
    Name the functions of a native process.
`flame_graph`
    Draw stacks.
"""
