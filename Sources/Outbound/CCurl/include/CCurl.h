// What Swift cannot say to libcurl itself: variadic options, one function per argument type, and a union member.
#ifndef GRANARY_CCURL_H
#define GRANARY_CCURL_H

#include <curl/curl.h>

CURLcode ccurl_set_long(CURL *easy, CURLoption option, long value);
CURLcode ccurl_set_offset(CURL *easy, CURLoption option, curl_off_t value);
// NULL unsets. libcurl copies the text.
CURLcode ccurl_set_text(CURL *easy, CURLoption option, const char *value);
// The list is not copied: it must outlive the transfer.
CURLcode ccurl_set_list(CURL *easy, CURLoption option, struct curl_slist *value);
// At least CURL_ERROR_SIZE bytes, alive as long as the handle.
CURLcode ccurl_set_error_text(CURL *easy, char *buffer);
CURLcode ccurl_set_private(CURL *easy, void *user);

// Callback and its user pointer, set together so that neither can be forgotten.
CURLcode ccurl_set_write(CURL *easy, curl_write_callback callback, void *user);
CURLcode ccurl_set_header(CURL *easy, curl_write_callback callback, void *user);
CURLcode ccurl_set_read(CURL *easy, curl_read_callback callback, void *user);
CURLcode ccurl_set_open_socket(CURL *easy, curl_opensocket_callback callback, void *user);
CURLcode ccurl_set_before_request(CURL *easy, curl_prereq_callback callback, void *user);

CURLMcode ccurl_multi_set_long(CURLM *multi, CURLMoption option, long value);

void *ccurl_private(CURL *easy);
CURLcode ccurl_result(const CURLMsg *message);

// The address libcurl is about to connect to. It may be longer than `struct sockaddr`: use it in place.
const struct sockaddr *ccurl_address(const struct curl_sockaddr *target);

// The folder of trusted certificates this libcurl was built for, NULL when it has none.
const char *ccurl_ca_folder(void);

// Names the calling thread, for debuggers and `top -H`.
void ccurl_name_thread(const char *name);

#endif
