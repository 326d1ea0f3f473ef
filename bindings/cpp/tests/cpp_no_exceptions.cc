// The binding without exceptions and without RTTI: no value(), all else as ever.
//   cpp_no_exceptions samples/models/tiny
#include <cstdio>
#include <dsv4.hpp>
#include <string>

static_assert(!DSV4_HPP_EXCEPTIONS, "this is compiled with -fno-exceptions");

// The answer's text, or the error that some step ended with.
static dsv4::Result<std::string> greeting(const char* folder) {
  auto model = dsv4::Model::open(folder);
  if (!model) return model.error();
  auto session = model->new_session();
  if (!session) return session.error();
  if (auto appended = session->append(dsv4::Role::user, "Hello!"); !appended) return appended.error();
  std::string text;
  const auto options = dsv4::GenerateOptions().greedy().reasoning(dsv4::Reasoning::none);
  const auto stats = session->generate(options, [&](const dsv4::Event& event) { text += event.text(); });
  if (!stats) return stats.error();
  return text;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto text = greeting(argv[1]);
  const auto nothing = greeting("no/such/folder");
  if (!text || text->substr(0, 6) != "Hello!") return std::fprintf(stderr, "no greeting\n"), 1;
  if (nothing || nothing.error().status() != dsv4::Status::not_found) return std::fprintf(stderr, "no error\n"), 1;
  return 0;
}
