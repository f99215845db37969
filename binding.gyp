{
  'variables': {
    'program_cflags': ['-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    # Nothing, or what makes a program static.
    'program_ldflags': ['<!@(sh native/can-link-static.sh)'],
  },
  'targets': [
    {
      'target_name': 'vpcctl',
      # One list for this file and native/CMakeLists.txt.
      'sources': ['<!@(cat native/sources.txt)'],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS'],
      'cflags': ['-Wall', '-Wextra', '-Werror', '-fvisibility=hidden', '-ffunction-sections', '-fdata-sections'],
      'cflags_cc': ['-std=c++17', '-fvisibility-inlines-hidden'],
      # With the C++ runtime inside, a prebuild asks of the user's machine only what Node itself does. Not libgcc: its static
      # form wants glibc 2.35.
      'libraries': ['-ldl'],
      'ldflags': ['-static-libstdc++', '-Wl,--exclude-libs,ALL', '-Wl,--gc-sections'],
    },
    {
      'target_name': 'vpcctl-launch',
      'type': 'executable',
      'sources': ['native/launch.c'],
      'cflags': ['<@(program_cflags)'],
      'cflags_c': ['-std=gnu11'],
      'ldflags!': ['-rdynamic'],
      'ldflags': ['<@(program_ldflags)'],
    },
    {
      'target_name': 'vpcctl-client',
      'type': 'executable',
      'sources': ['native/client.c'],
      'cflags': ['<@(program_cflags)'],
      'cflags_c': ['-std=gnu11'],
      'ldflags!': ['-rdynamic'],
      'ldflags': ['<@(program_ldflags)'],
    },
    {
      'target_name': 'vpcctl-probe',
      'type': 'executable',
      'sources': ['native/probe.c'],
      'cflags': ['<@(program_cflags)'],
      'cflags_c': ['-std=gnu11'],
      'ldflags!': ['-rdynamic'],
      'ldflags': ['<@(program_ldflags)'],
    },
  ],
}
