#define _GNU_SOURCE
#include "CCurl.h"

#include <pthread.h>

CURLcode ccurl_set_long(CURL *easy, CURLoption option, long value) { return curl_easy_setopt(easy, option, value); }

CURLcode ccurl_set_offset(CURL *easy, CURLoption option, curl_off_t value) { return curl_easy_setopt(easy, option, value); }

CURLcode ccurl_set_text(CURL *easy, CURLoption option, const char *value) { return curl_easy_setopt(easy, option, value); }

CURLcode ccurl_set_list(CURL *easy, CURLoption option, struct curl_slist *value) { return curl_easy_setopt(easy, option, value); }

CURLcode ccurl_set_error_text(CURL *easy, char *buffer) { return curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, buffer); }

CURLcode ccurl_set_private(CURL *easy, void *user) { return curl_easy_setopt(easy, CURLOPT_PRIVATE, user); }

CURLcode ccurl_set_write(CURL *easy, curl_write_callback callback, void *user) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_WRITEDATA, user) : code;
}

CURLcode ccurl_set_header(CURL *easy, curl_write_callback callback, void *user) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_HEADERDATA, user) : code;
}

CURLcode ccurl_set_read(CURL *easy, curl_read_callback callback, void *user) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_READFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_READDATA, user) : code;
}

CURLcode ccurl_set_open_socket(CURL *easy, curl_opensocket_callback callback, void *user) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, user) : code;
}

CURLcode ccurl_set_before_request(CURL *easy, curl_prereq_callback callback, void *user) {
    CURLcode code = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, callback);
    return code == CURLE_OK ? curl_easy_setopt(easy, CURLOPT_PREREQDATA, user) : code;
}

CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value) { return curl_multi_setopt(multi, option, value); }

void *ccurl_private(CURL *easy) {
    char *user = NULL;
    return curl_easy_getinfo(easy, CURLINFO_PRIVATE, &user) == CURLE_OK ? user : NULL;
}

CURLcode ccurl_result(const CURLMsg *message) { return message->data.result; }

const struct sockaddr *ccurl_address(const struct curl_sockaddr *target) { return &target->addr; }

const char *ccurl_ca_folder(void) { return curl_version_info(CURLVERSION_NOW)->capath; }

void ccurl_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }
