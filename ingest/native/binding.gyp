{
  "variables": {
    "rdkafka": "<!(node -p \"path.dirname(require.resolve('node-rdkafka/package.json'))\")",
    "rdkafka_version": "<!(node -p \"require('node-rdkafka/package.json').version\")"
  },
  "targets": [
    {
      "target_name": "cdrhouse_native",
      "sources": ["addon.cc"],
      "defines": ["NODE_RDKAFKA_VERSION=\"<(rdkafka_version)\""],
      "include_dirs": [
        "<!(node -e \"require('nan')\")",
        "<(rdkafka)",
        "<(rdkafka)/src",
        "<(rdkafka)/deps/librdkafka/src",
        "<(rdkafka)/deps/librdkafka/src-cpp",
        "<(rdkafka)/build/deps/include"
      ],
      "cflags_cc": ["-std=c++20", "-O2", "-Wall"],
      "cflags_cc!": ["-fno-rtti"],
      "libraries": [
        "<(rdkafka)/build/deps/librdkafka.so",
        "-Wl,-rpath='$$ORIGIN/../../../../node_modules/node-rdkafka/build/deps'"
      ]
    }
  ]
}
