// redactor: mask payment card numbers and e-mail addresses in response bodies.
//
// Handles on_response. The length of a body never changes. Buffers come from the host's accounted
// memory, so a body that is too large for the plugin's limit is an error and not an outage.
//
// Build:  c++ -std=c++17 -shared -fPIC -O2 -I"$(pluginapi include)" -o redactor.so redactor.cpp
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "pluginapi.h"
#include "pluginapi_msgpack.h"

PA_MANIFEST({
    "name": "redactor",
    "version": "1.0.0",
    "author": "The pluginapi developers",
    "description": "Masks payment card numbers and e-mail addresses in response bodies.",
    "resource_limits": {"max_heap_bytes": 33554432, "max_cpu_time_ms": 500}
});

namespace {

// An allocator of the standard library over the host's alloc: what a container takes is counted
// towards the plugin's heap limit, and above it std::bad_alloc is thrown.
template <class T>
class HostAllocator {
public:
    using value_type = T;

    HostAllocator(const pa_host_api *api, pa_host *host) noexcept : api_(api), host_(host) {}

    template <class U>
    HostAllocator(const HostAllocator<U> &other) noexcept : api_(other.api_), host_(other.host_) {}

    T *allocate(std::size_t count) {
        if (count > SIZE_MAX / sizeof(T)) {
            throw std::bad_alloc();
        }
        void *const block = api_->alloc(host_, count * sizeof(T), alignof(T));
        if (block == nullptr) {
            throw std::bad_alloc();
        }
        return static_cast<T *>(block);
    }

    void deallocate(T *block, std::size_t count) noexcept {
        api_->free(host_, block, count * sizeof(T), alignof(T));
    }

    template <class U>
    bool operator==(const HostAllocator<U> &other) const noexcept {
        return host_ == other.host_;
    }

    template <class U>
    bool operator!=(const HostAllocator<U> &other) const noexcept {
        return !(*this == other);
    }

private:
    template <class U>
    friend class HostAllocator;

    const pa_host_api *api_;
    pa_host *host_;
};

using Buffer = std::vector<char, HostAllocator<char>>;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_local(char c) {
    return is_letter(c) || is_digit(c) ||
           std::string_view("._%+-").find(c) != std::string_view::npos;
}

bool is_domain(char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '-'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
               return lower(x) == lower(y);
           });
}

bool starts_with_ignoring_case(std::string_view text, std::string_view start) {
    return text.size() >= start.size() && equal_ignoring_case(text.substr(0, start.size()), start);
}

// The check digit of ISO/IEC 7812-1; `digits` are '0' to '9'.
bool passes_luhn(std::string_view digits) {
    int sum = 0;
    bool twice = false;
    for (auto at = digits.rbegin(); at != digits.rend(); ++at, twice = !twice) {
        const int value = (*at - '0') * (twice ? 2 : 1);
        sum += value > 9 ? value - 9 : value;
    }
    return sum % 10 == 0;
}

// Masks what it finds in one body, from left to right.
class Masker {
public:
    Masker(Buffer &body, bool json) : body_(body), json_(json) {}

    std::uint64_t cards = 0;
    std::uint64_t addresses = 0;

    void run() {
        std::size_t at = 0;
        while (at < body_.size()) {
            const char c = body_[at];
            if (is_digit(c) && (at == 0 || !is_digit(body_[at - 1]))) {
                at = mask_card(at);
            } else if (c == '@') {
                mask_address(at);
                ++at;
            } else {
                if (in_string_ && c == '\\') {
                    ++at; // The next character is escaped.
                } else if (c == '"') {
                    in_string_ = json_ && !in_string_;
                }
                ++at;
            }
        }
    }

private:
    // Look for a card number that starts here, as whole groups of digits, and the longest one there
    // is. Returns where to go on: behind it, or else behind the first group.
    std::size_t mask_card(std::size_t start) {
        constexpr std::size_t most = 19;
        constexpr std::size_t least = 13;
        constexpr std::size_t kept = 4;
        char digits[most];
        std::size_t count = 0;
        std::size_t found = 0; // Digits of the card number.
        std::size_t end = 0;
        std::size_t first_end = 0;
        std::size_t at = start;
        for (;;) {
            while (at < body_.size() && is_digit(body_[at])) {
                if (count < most) {
                    digits[count] = body_[at];
                }
                ++count;
                ++at;
            }
            first_end = first_end == 0 ? at : first_end;
            if (count > most) {
                break;
            }
            if (count >= least && passes_luhn({digits, count})) {
                found = count;
                end = at;
            }
            const bool goes_on = at + 1 < body_.size() && is_digit(body_[at + 1]) &&
                                 (body_[at] == ' ' || body_[at] == '-');
            if (!goes_on) {
                break;
            }
            ++at;
        }
        if (found == 0) {
            return first_end;
        }
        const char mask = json_ && !in_string_ ? '9' : '*';
        std::size_t left = found - kept;
        for (at = start; left > 0; ++at) {
            if (is_digit(body_[at])) {
                body_[at] = mask;
                --left;
            }
        }
        ++cards;
        return end;
    }

    void mask_address(std::size_t sign) {
        std::size_t start = sign;
        while (start > 0 && is_local(body_[start - 1])) {
            --start;
        }
        std::size_t end = sign + 1;
        while (end < body_.size() && is_domain(body_[end])) {
            ++end;
        }
        const std::string_view domain(body_.data() + sign + 1, end - sign - 1);
        const std::size_t dot = domain.find('.');
        if (start == sign || dot == std::string_view::npos || dot == 0 ||
            dot + 1 == domain.size() || !is_letter(domain[dot + 1])) {
            return;
        }
        const std::size_t first = sign - start > 1 ? start + 1 : start;
        std::fill(body_.begin() + static_cast<std::ptrdiff_t>(first),
                  body_.begin() + static_cast<std::ptrdiff_t>(sign), '*');
        ++addresses;
    }

    Buffer &body_;
    const bool json_;
    bool in_string_ = false;
};

struct Redactor {
    const pa_host_api *api;
    pa_host *host;
    std::atomic<std::uint64_t> cards{0};
    std::atomic<std::uint64_t> addresses{0};
    pa_plugin plugin{};

    Redactor(const pa_host_api *api_, pa_host *host_) : api(api_), host(host_) {}

    pa_status on_response(pa_bytes in, pa_out *out);
    pa_status explain(pa_status status, std::string_view text) const {
        api->set_error(host, status, pa_str_make(text.data(), text.size()));
        return status;
    }
};

enum class Content { other, text, json };

// Read what the headers say about the body.
pa_status read_headers(pa_mp_reader headers, Content &content) {
    std::uint32_t count = 0;
    pa_status status = pa_mp_read_array(&headers, &count);
    content = Content::other;
    bool encoded = false;
    while (status == PA_OK && count-- > 0) {
        std::uint32_t two = 0;
        pa_str raw_name;
        pa_str raw_value;
        if (pa_mp_read_array(&headers, &two) != PA_OK || two != 2 ||
            pa_mp_read_str(&headers, &raw_name) != PA_OK ||
            pa_mp_read_str(&headers, &raw_value) != PA_OK) {
            return PA_ERR_BAD_ARG;
        }
        const std::string_view name(raw_name.ptr, raw_name.len);
        std::string_view value(raw_value.ptr, raw_value.len);
        if (equal_ignoring_case(name, "content-encoding")) {
            encoded = encoded || !equal_ignoring_case(value, "identity");
        } else if (equal_ignoring_case(name, "content-type")) {
            value = value.substr(0, value.find(';'));
            while (!value.empty() && value.back() == ' ') {
                value.remove_suffix(1);
            }
            const std::size_t plus = value.rfind('+');
            const std::string_view suffix =
                plus == std::string_view::npos ? std::string_view() : value.substr(plus);
            if (equal_ignoring_case(value, "application/json") ||
                equal_ignoring_case(suffix, "+json")) {
                content = Content::json;
            } else if (starts_with_ignoring_case(value, "text/") ||
                       equal_ignoring_case(value, "application/xml") ||
                       equal_ignoring_case(value, "application/x-www-form-urlencoded") ||
                       equal_ignoring_case(suffix, "+xml")) {
                content = Content::text;
            }
        }
    }
    if (encoded) {
        content = Content::other;
    }
    return status;
}

pa_status Redactor::on_response(pa_bytes in, pa_out *out) {
    pa_mp_reader at = pa_mp_reader_of(in);
    pa_mp_reader found;
    pa_bytes body{};
    Content content = Content::other;
    if (pa_mp_find(at, PA_STR("headers"), &found) == PA_OK &&
        read_headers(found, content) != PA_OK) {
        return explain(PA_ERR_BAD_ARG, "the headers of on_response are malformed");
    }
    if (content == Content::other || pa_mp_find(at, PA_STR("body"), &found) != PA_OK) {
        return PA_OK;
    }
    if (pa_mp_read_bin(&found, &body) != PA_OK) {
        return explain(PA_ERR_BAD_ARG, "the body of on_response is not binary");
    }

    Buffer copy(HostAllocator<char>(api, host));
    copy.assign(body.ptr, body.ptr + body.len);
    Masker masker(copy, content == Content::json);
    masker.run();
    if (masker.cards == 0 && masker.addresses == 0) {
        return PA_OK; // Nothing written: the response is unchanged.
    }
    cards += masker.cards;
    addresses += masker.addresses;

    // Everything but the body goes on as it came.
    pa_mp_writer writer = pa_mp_writer_of(api, out);
    std::uint32_t pairs = 0;
    if (pa_mp_read_map(&at, &pairs) != PA_OK) {
        return explain(PA_ERR_BAD_ARG, "the value of on_response is not an HttpResponse");
    }
    pa_mp_write_map(&writer, pairs);
    while (pairs-- > 0) {
        pa_mp_reader name_at = at;
        pa_bytes raw_key;
        pa_bytes raw_value;
        pa_str name{};
        if (pa_mp_skip(&at, &raw_key) != PA_OK || pa_mp_skip(&at, &raw_value) != PA_OK) {
            return explain(PA_ERR_BAD_ARG, "the value of on_response is cut off");
        }
        pa_mp_write_raw(&writer, raw_key);
        if (pa_mp_read_str(&name_at, &name) == PA_OK && pa_str_equal(name, PA_STR("body"))) {
            pa_mp_write_bin(&writer, pa_bytes_make(copy.data(), copy.size()));
        } else {
            pa_mp_write_raw(&writer, raw_value);
        }
    }
    return writer.status;
}

// Run a callback's work; whatever it throws becomes a status. No exception may reach the host.
template <class Work>
pa_status guarded(const Redactor *self, Work work) noexcept {
    try {
        return work();
    } catch (const std::bad_alloc &) {
        return self->explain(PA_ERR_LIMIT, "the body does not fit the plugin's memory limit");
    } catch (const std::exception &error) {
        return self->explain(PA_ERR_FAIL, error.what());
    } catch (...) {
        return self->explain(PA_ERR_FAIL, "an exception of unknown type");
    }
}

pa_status on_response(void *user, pa_str, pa_bytes in, pa_out *out) {
    auto *const self = static_cast<Redactor *>(user);
    return guarded(self, [&] { return self->on_response(in, out); });
}

pa_status init(void *) { return PA_OK; }

pa_status register_hooks(void *instance) {
    auto *const self = static_cast<Redactor *>(instance);
    const auto *const hooks = static_cast<const pa_hooks_1 *>(
        self->api->get_interface(self->host, PA_STR(PA_HOOKS_1)));
    if (hooks == nullptr) {
        return self->explain(PA_ERR_UNSUPPORTED, "the host has no pa.hooks/1");
    }
    // Late: what other plugins add to the body is redacted too.
    return hooks->register_hook(self->host, PA_STR("on_response"), PA_PRIORITY_CLEANUP, on_response,
                                self);
}

pa_status shutdown(void *instance) {
    auto *const self = static_cast<Redactor *>(instance);
    return guarded(self, [&] {
        const std::string line = "masked " + std::to_string(self->cards) + " card numbers and " +
                                 std::to_string(self->addresses) + " e-mail addresses";
        self->api->log(self->host, PA_LOG_INFO, pa_str_make(line.data(), line.size()));
        return PA_OK;
    });
}

void destroy(void *instance) {
    auto *const self = static_cast<Redactor *>(instance);
    const pa_host_api *const api = self->api;
    pa_host *const host = self->host;
    self->~Redactor();
    api->free(host, self, sizeof *self, alignof(Redactor));
}

} // namespace

PA_EXPORT pa_status create_plugin(const pa_host_api *api, pa_host *host, pa_bytes,
                                  const pa_plugin **plugin) {
    void *const memory = api->alloc(host, sizeof(Redactor), alignof(Redactor));
    if (memory == nullptr) {
        return PA_ERR_LIMIT;
    }
    auto *const self = new (memory) Redactor(api, host);
    self->plugin.struct_size = sizeof self->plugin;
    self->plugin.abi_major = PA_ABI_MAJOR;
    self->plugin.abi_minor = PA_ABI_MINOR;
    self->plugin.name = PA_STR("redactor");
    self->plugin.version = PA_STR("1.0.0");
    self->plugin.flags = PA_F_THREAD_SAFE;
    self->plugin.instance = self;
    self->plugin.init = init;
    self->plugin.register_hooks = register_hooks;
    self->plugin.shutdown = shutdown;
    self->plugin.destroy = destroy;
    *plugin = &self->plugin;
    return PA_OK;
}
