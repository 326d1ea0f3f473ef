// libdsv4 for C++17 and later: all of dsv4.h as values that clean up after themselves. Header-only; link libdsv4.
//
//   dsv4::Model model = dsv4::Model::open("path/to/checkpoint").value();
//   dsv4::Session session = model.new_session().value();
//   session.append(dsv4::Role::user, "Hello").value();
//   for (const dsv4::Event& event : session.generate())
//     if (event.type() == dsv4::EventType::content) std::cout << event.text();
//
// What each call does, keeps and refuses is said in dsv4.h, under the name that the call has there. What is of this
// binding:
//  - A call that can fail returns a Result: the value or an Error. value() throws the Error as an Exception; without
//    exceptions (-fno-exceptions) it is not there, and all else is.
//  - A Model may be copied and shared between threads. A Session is moved; it keeps its model. One call at a time.
//  - What a callback throws does not cross the library: the call is ended there and throws it again.
//  - Options have a setter for each field of the C struct; what is not set is the library's default.
#pragma once

#include <dsv4/conversation.hpp>
#include <dsv4/event.hpp>
#include <dsv4/model.hpp>
#include <dsv4/options.hpp>
#include <dsv4/parser.hpp>
#include <dsv4/result.hpp>
#include <dsv4/session.hpp>
#include <dsv4/snapshot.hpp>
#include <dsv4/stream.hpp>
#include <dsv4/types.hpp>
