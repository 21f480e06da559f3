/* Named pipes of Windows for channels.
 *
 * The pipe belongs to whoever creates its name first: FILE_FLAG_FIRST_PIPE_INSTANCE makes that
 * us or an error. Its access list names this process's user alone, and clients of other machines
 * are rejected. Who connected is asked of the kernel and compared by the caller.
 *
 * One thread may read and one may write at the same time; pa_pipe_cancel wakes both. Every call
 * that waits has a time limit in milliseconds, INFINITE for none. Results: 0 done, 1 the time ran
 * out, 2 the other end is gone, -1 refused (*error is GetLastError()). */
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0A00 /* Windows 10 */
#endif
#include <windows.h>

#include <sddl.h>
#include <stdlib.h>
#include <wchar.h>

struct pa_pipe;
#include "named_pipe.h"

enum { DONE = 0, TIMED_OUT = 1, GONE = 2, FAILED = -1 };

struct pa_pipe {
    HANDLE pipe;
    HANDLE read_event;
    HANDLE write_event;
    HANDLE cancelled; /* manual reset: set once, wakes every wait from then on */
};

static int failed(DWORD code, unsigned long *error) {
    *error = code;
    return code == ERROR_BROKEN_PIPE || code == ERROR_PIPE_NOT_CONNECTED || code == ERROR_NO_DATA ||
                   code == ERROR_OPERATION_ABORTED
               ? GONE
               : FAILED;
}

static pa_pipe *make_pipe(void) {
    pa_pipe *const pipe = calloc(1, sizeof *pipe);
    if (pipe == NULL) {
        return NULL;
    }
    pipe->pipe = INVALID_HANDLE_VALUE;
    pipe->read_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->write_event = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->cancelled = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (pipe->read_event == NULL || pipe->write_event == NULL || pipe->cancelled == NULL) {
        pa_pipe_close(pipe);
        return NULL;
    }
    return pipe;
}

/* An access list that lets the user of this process do everything and nobody else anything:
 * protected from inheritance, without the default entries for Everyone and Anonymous. */
static PSECURITY_DESCRIPTOR owner_only(DWORD *error) {
    static const wchar_t form[] = L"D:P(A;;GA;;;%ls)";
    union {
        TOKEN_USER user;
        BYTE space[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } token_user;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    wchar_t text[256];
    LPWSTR sid = NULL;
    HANDLE token = NULL;
    DWORD size = 0;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) ||
        !GetTokenInformation(token, TokenUser, &token_user, sizeof token_user, &size) ||
        !ConvertSidToStringSidW(token_user.user.User.Sid, &sid)) {
        *error = GetLastError();
    } else if (_snwprintf(text, sizeof text / sizeof *text - 1, form, sid) < 0) {
        *error = ERROR_INSUFFICIENT_BUFFER;
    } else {
        text[sizeof text / sizeof *text - 1] = L'\0';
        if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(text, SDDL_REVISION_1,
                                                                  &descriptor, NULL)) {
            *error = GetLastError();
            descriptor = NULL;
        }
    }
    if (sid != NULL) {
        LocalFree(sid);
    }
    if (token != NULL) {
        CloseHandle(token);
    }
    return descriptor;
}

int pa_pipe_listen(const wchar_t *name, unsigned long buffer_bytes, pa_pipe **pipe,
                   unsigned long *error) {
    SECURITY_ATTRIBUTES attributes = {sizeof attributes, NULL, FALSE};
    DWORD code = ERROR_NOT_ENOUGH_MEMORY;
    pa_pipe *const made = make_pipe();
    *pipe = NULL;
    if (made == NULL) {
        return failed(code, error);
    }
    attributes.lpSecurityDescriptor = owner_only(&code);
    if (attributes.lpSecurityDescriptor != NULL) {
        made->pipe = CreateNamedPipeW(
            name, PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
            buffer_bytes, buffer_bytes, 0, &attributes);
        code = GetLastError();
        LocalFree(attributes.lpSecurityDescriptor);
    }
    if (made->pipe == INVALID_HANDLE_VALUE) {
        pa_pipe_close(made);
        return failed(code, error);
    }
    *pipe = made;
    return DONE;
}

/* Wait until an overlapped operation has ended. The operation is over when this returns, whatever
 * it returns: the kernel does not touch `overlapped` any more. */
static int finish(pa_pipe *pipe, OVERLAPPED *overlapped, unsigned long timeout_ms, DWORD *done,
                  unsigned long *error) {
    const HANDLE events[2] = {overlapped->hEvent, pipe->cancelled};
    const DWORD signalled = WaitForMultipleObjects(2, events, FALSE, timeout_ms);
    if (signalled != WAIT_OBJECT_0) {
        CancelIoEx(pipe->pipe, overlapped);
    }
    if (!GetOverlappedResult(pipe->pipe, overlapped, done, TRUE)) {
        const DWORD code = GetLastError();
        if (code == ERROR_OPERATION_ABORTED && signalled == WAIT_TIMEOUT) {
            return TIMED_OUT;
        }
        return failed(code, error);
    }
    return DONE;
}

int pa_pipe_accept(pa_pipe *pipe, unsigned long timeout_ms, unsigned long *client_pid,
                   unsigned long *error) {
    OVERLAPPED overlapped = {0};
    DWORD done = 0;
    overlapped.hEvent = pipe->read_event;
    ResetEvent(pipe->read_event);
    if (!ConnectNamedPipe(pipe->pipe, &overlapped)) {
        const DWORD code = GetLastError();
        int result = DONE;
        if (code == ERROR_IO_PENDING) {
            result = finish(pipe, &overlapped, timeout_ms, &done, error);
        } else if (code != ERROR_PIPE_CONNECTED) {
            result = failed(code, error);
        }
        if (result != DONE) {
            return result;
        }
    }
    if (!GetNamedPipeClientProcessId(pipe->pipe, client_pid)) {
        return failed(GetLastError(), error);
    }
    return DONE;
}

int pa_pipe_connect(const wchar_t *name, unsigned long server_pid, pa_pipe **pipe,
                    unsigned long *error) {
    DWORD code = ERROR_NOT_ENOUGH_MEMORY;
    unsigned long found = 0;
    pa_pipe *const made = make_pipe();
    *pipe = NULL;
    if (made == NULL) {
        return failed(code, error);
    }
    /* SECURITY_IDENTIFICATION: the server may learn who we are, not act as us. */
    made->pipe = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                             FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                             NULL);
    if (made->pipe == INVALID_HANDLE_VALUE ||
        !GetNamedPipeServerProcessId(made->pipe, &found)) {
        code = GetLastError();
        pa_pipe_close(made);
        return failed(code, error);
    }
    if (server_pid != 0 && found != server_pid) {
        pa_pipe_close(made);
        return failed(ERROR_ACCESS_DENIED, error);
    }
    *pipe = made;
    return DONE;
}

int pa_pipe_read(pa_pipe *pipe, void *data, unsigned long size, unsigned long timeout_ms,
                 unsigned long *done, unsigned long *error) {
    OVERLAPPED overlapped = {0};
    DWORD count = 0;
    int result = DONE;
    *done = 0;
    overlapped.hEvent = pipe->read_event;
    ResetEvent(pipe->read_event);
    if (!ReadFile(pipe->pipe, data, size, NULL, &overlapped) &&
        GetLastError() != ERROR_IO_PENDING) {
        return failed(GetLastError(), error);
    }
    result = finish(pipe, &overlapped, timeout_ms, &count, error);
    *done = count;
    return result;
}

int pa_pipe_write(pa_pipe *pipe, const void *data, unsigned long size, unsigned long timeout_ms,
                  unsigned long *done, unsigned long *error) {
    OVERLAPPED overlapped = {0};
    DWORD count = 0;
    int result = DONE;
    *done = 0;
    overlapped.hEvent = pipe->write_event;
    ResetEvent(pipe->write_event);
    if (!WriteFile(pipe->pipe, data, size, NULL, &overlapped) &&
        GetLastError() != ERROR_IO_PENDING) {
        return failed(GetLastError(), error);
    }
    result = finish(pipe, &overlapped, timeout_ms, &count, error);
    *done = count;
    return result;
}

void pa_pipe_cancel(pa_pipe *pipe) {
    SetEvent(pipe->cancelled);
}

void pa_pipe_close(pa_pipe *pipe) {
    const HANDLE handles[4] = {pipe->pipe, pipe->read_event, pipe->write_event, pipe->cancelled};
    int i;
    for (i = 0; i < 4; i++) {
        if (handles[i] != NULL && handles[i] != INVALID_HANDLE_VALUE) {
            CloseHandle(handles[i]);
        }
    }
    free(pipe);
}
