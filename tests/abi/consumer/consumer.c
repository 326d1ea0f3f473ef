/* The smallest host: is the library that runs the one that was compiled against, and does an error come back? */
#include <stdio.h>
#include <string.h>

#include <dsv4.h>

int main(void) {
  const uint32_t expected = DSV4_VERSION_MAJOR * 1000000u + DSV4_VERSION_MINOR * 1000u + DSV4_VERSION_PATCH;
  dsv4_build_info info;
  dsv4_model *model = NULL;
  dsv4_error *error = NULL;
  dsv4_status status;

  if (dsv4_version() != expected) {
    printf("version: header %u, library %u\n", (unsigned)expected, (unsigned)dsv4_version());
    return 1;
  }
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  if (dsv4_build_info_get(&info, &error) != DSV4_OK || info.backends == NULL || info.backends[0] == '\0') {
    printf("build info: %s\n", dsv4_error_message(error));
    return 1;
  }
  /* Opening a model reaches through every layer of the library, C++ exceptions included. */
  status = dsv4_model_open("/nonexistent/checkpoint", NULL, &model, &error);
  if (status != DSV4_E_NOT_FOUND || model != NULL || strstr(dsv4_error_message(error), "/nonexistent") == NULL) {
    printf("open: status %d: %s\n", (int)status, dsv4_error_message(error));
    return 1;
  }
  dsv4_error_release(&error);
  printf("libdsv4 %s: %s\n", info.version, info.backends);
  return error == NULL ? 0 : 1;
}
