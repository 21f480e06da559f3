#include "services.h"

#include <stdlib.h>

#include "ask.h"

pa_status pa_worker_service_call(void *user, pa_str service, pa_str method, pa_bytes arguments,
                                 pa_out *result) {
    pa_worker *const self = user;
    uint8_t *answer = NULL;
    pa_bytes found;
    pa_draft draft;
    pa_status status;
    pa_draft_open(&draft);
    pa_mp_write_array(&draft.writer, 4);
    pa_write_name(&draft.writer, "service_call");
    pa_write_text(&draft.writer, service, PA_MAX_NAME);
    pa_write_text(&draft.writer, method, PA_MAX_NAME);
    pa_mp_write_bin(&draft.writer, arguments);
    status = pa_worker_ask_bytes(self, &draft, &answer, &found);
    pa_draft_close(&draft);
    if (status == PA_OK) {
        status = pa_sink_append(result, found.ptr, found.len);
    }
    free(answer);
    return status;
}
