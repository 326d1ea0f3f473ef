# Tests of a cross build, whose programs run under an emulator. CTest starts programs under it by itself; what scripts
# and other programs start gets a launcher. DSV4_NOT_EMULATED: what is not run there, each with its reason. These tests
# are disabled, which CTest shows, and count as nothing.

# dsv4_runnable(variable target): sets `variable` to a file by which a script starts `target`.
function(dsv4_runnable variable target)
  if(NOT CMAKE_CROSSCOMPILING_EMULATOR)
    set(${variable} $<TARGET_FILE:${target}> PARENT_SCOPE)
    return()
  endif()
  set(launcher ${PROJECT_BINARY_DIR}/launchers/${target})
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
  file(GENERATE OUTPUT ${launcher} CONTENT "#!/bin/sh\nexec ${emulator} '$<TARGET_FILE:${target}>' \"$@\"\n"
       FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
  set(${variable} ${launcher} PARENT_SCOPE)
endfunction()

set(DSV4_NOT_EMULATED "")
if(CMAKE_CROSSCOMPILING)
  list(APPEND DSV4_NOT_EMULATED
    # What they look at is the same for every target, and the native build runs them.
    header_test cpp_headers_test
    # They build a stranger's project with the native compiler against what was installed.
    install_test package_test
    # A game's frames of 16.7 ms pass while its characters answer: an emulated model is too slow for its lines.
    hosts_test
    # A bound of time; and its folder has the published sizes, as below.
    open_bench
    # Thousands of steps of whole models: minutes each. What they look at is above what knows a processor.
    rewind_session_test resume_api_test many_sessions_api_test session_memory_test shared_step_threads_test
    token_scripts_test message_scripts_test memory_faults_test verb_faults_test snapshot_damage_test sequences_test
    check_backend_test)
  # Cases of a doctest program that are left out, as its arguments; it counts them as skipped.
  # Files of the published sizes, 150 GB and more without content: qemu keeps a record of every page that is mapped.
  set(DSV4_CASES_checkpoint_test "-tce=checkpoints in the wild*,re-uploads*")
  # They measure speed.
  set(DSV4_CASES_cli_test "-tce=bench *")
endif()
