/* A model with two owners, and a turn that is cancelled from elsewhere.
 *   two_owners samples/models/tiny
 *
 * Each owner has a reference of its own and releases it when it is done, in whatever order; the model goes with the
 * last of them and of its sessions. */
#include <dsv4.h>
#include <stdio.h>

typedef struct Owner {
  dsv4_model* model;
  dsv4_session* session;
} Owner;

static dsv4_status take(Owner* owner, dsv4_model* model, dsv4_error** error) {
  owner->model = dsv4_model_retain(model);
  return dsv4_session_create(owner->model, NULL, &owner->session, error);
}

static void give_up(Owner* owner) {
  dsv4_session_release(&owner->session);
  dsv4_model_release(&owner->model);
}

/* dsv4_session_cancel is the one call that may be made at any time, from any thread. */
static int32_t on_event(void* user, const dsv4_event* event) {
  if (event->type == DSV4_EVENT_CONTENT) dsv4_session_cancel(user);
  if (event->type == DSV4_EVENT_DONE) printf("the turn ended: %s\n", dsv4_done_name(event->reason));
  return DSV4_CONTINUE;
}

int main(int argc, char** argv) {
  dsv4_model* model = NULL;
  Owner first = {0}, second = {0};
  dsv4_conversation* so_far = NULL;
  dsv4_error* error = NULL;
  size_t messages = 0;
  if (argc != 2) return 2;
  dsv4_status status = dsv4_model_open(argv[1], NULL, &model, &error);
  if (status == DSV4_OK) status = take(&first, model, &error);
  if (status == DSV4_OK) status = take(&second, model, &error);
  dsv4_model_release(&model); /* two are left */
  give_up(&first);            /* one is left */

  if (status == DSV4_OK)
    status =
        dsv4_session_append_message(second.session, DSV4_ROLE_USER, "What can you do?", DSV4_NUL_TERMINATED, &error);
  if (status == DSV4_OK) status = dsv4_session_generate(second.session, NULL, on_event, second.session, NULL, &error);
  if (dsv4_error_status(error) == DSV4_E_CANCELLED) { /* not a failure: what was said until then is kept */
    dsv4_error_release(&error);
    status = dsv4_session_conversation(second.session, &so_far, &error);
  }
  if (status == DSV4_OK) status = dsv4_conversation_count(so_far, &messages, &error);
  if (status == DSV4_OK) printf("%zu messages, the last of them cut short\n", messages);
  if (status != DSV4_OK) fprintf(stderr, "%s: %s\n", dsv4_status_name(status), dsv4_error_message(error));
  dsv4_error_release(&error);
  dsv4_conversation_release(&so_far);
  give_up(&second);
  return status == DSV4_OK && messages == 2 ? 0 : 1;
}
