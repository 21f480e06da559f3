"""Ask a running host what its plugins do, over a local socket.

`server`
    The host's end: answers who may ask.
`client`
    The other end, for `pluginapi top`.
`answers`
    What is answered, as JSON-representable values.
"""
