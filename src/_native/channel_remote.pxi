# How the host calls a handler in the other process: nearly every call goes through here alone.

cdef class RemoteCall:
    """Call one handler of the peer with a Python value; the base of `RemoteHandler`.

    What is out of the usual goes to methods of the subclass: ``_result(reply)`` takes answers that
    are no plain value of the known type, ``_later(future, call)`` awaits one, ``_start`` begins a
    call from an event loop that is not attached; ``_unencodable(err)`` and ``_undecodable(payload,
    err)`` make exceptions.

    Args:
        core: A `Channel`, or what stands in for one.
        hook: Id of the handler.
        encode: Makes the payload of a value.
        output_type: Returns the type of results.
        timeout_ns: How long a call may take; 0 for ever.
        context: Has ``pushed()``, or None.
    """

    cdef object core
    cdef Channel channel  # the core, if it is one
    cdef int hook
    cdef object encode
    cdef object output_type
    cdef readonly uint64_t timeout_ns
    cdef readonly object context
    cdef object known_type
    cdef object decode

    def __init__(self, core, int hook, encode, output_type, uint64_t timeout_ns, context):
        self.use(core)
        self.hook = hook
        self.encode = encode
        self.output_type = output_type
        self.timeout_ns = timeout_ns
        self.context = context

    def use(self, core):
        """Call over this core from now on."""
        self.core = core
        self.channel = core if isinstance(core, Channel) else None

    def decoder(self):
        """Return what decodes results, made for the type that they have now."""
        output_type = self.output_type()
        if self.known_type is not output_type or self.decode is None:
            decode = msgspec.msgpack.Decoder(output_type).decode
            self.known_type, self.decode = output_type, decode
        return self.decode

    def __call__(self, value):
        """Run the handler on one value."""
        cdef tuple reply
        try:
            payload = self.encode(value)
        except ENCODE_ERRORS as err:
            raise self._unencodable(err) from err
        context = self.context
        pushed = None if context is None else context.pushed()
        loop = running_loop()
        if loop is None:
            if self.channel is not None:
                reply = wait_for_reply(
                    self.channel, ck.PA_FRAME_CALL, self.hook, payload, pushed, self.timeout_ns,
                    context,
                )
            else:
                reply = self.core.call(CALL, self.hook, payload, pushed, self.timeout_ns, context)
        else:
            if self.channel is not None and self.channel.loop is loop:
                reply = start_call(
                    self.channel, ck.PA_FRAME_CALL, self.hook, payload, pushed, self.timeout_ns,
                    context,
                )
            else:
                reply = self._start(loop, payload, pushed)
            if len(reply) == 2:
                return self._later(reply[0], reply[1])
        # Compared after the call that makes it: from here on no other Python code runs in between.
        if (
            <int>reply[0] == ck.PA_FRAME_RESULT
            and not <int>reply[1]
            and reply[2] is None
            and self.output_type() is self.known_type
            and self.decode is not None
        ):
            try:
                return self.decode(reply[3])
            except DECODE_ERRORS as err:
                raise self._undecodable(reply[3], err) from err
        return self._result(reply)
