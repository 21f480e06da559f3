/* Named pipes of Windows for channels: the declarations, as cffi reads them. */
typedef struct pa_pipe pa_pipe;

int pa_pipe_listen(const wchar_t *name, unsigned long buffer_bytes, pa_pipe **pipe,
                   unsigned long *error);
int pa_pipe_accept(pa_pipe *pipe, unsigned long timeout_ms, unsigned long *client_pid,
                   unsigned long *error);
int pa_pipe_connect(const wchar_t *name, unsigned long server_pid, pa_pipe **pipe,
                    unsigned long *error);
int pa_pipe_read(pa_pipe *pipe, void *data, unsigned long size, unsigned long timeout_ms,
                 unsigned long *done, unsigned long *error);
int pa_pipe_write(pa_pipe *pipe, const void *data, unsigned long size, unsigned long timeout_ms,
                  unsigned long *done, unsigned long *error);
void pa_pipe_cancel(pa_pipe *pipe);
void pa_pipe_close(pa_pipe *pipe);
