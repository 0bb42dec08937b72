"use strict";
// Speaks the two command lines that forge uses (--version, --standard-json) on top of the npm package's
// solc: no registry carries a native build. Forge inlines every source, so nothing is read from disk here.

const fs = require("node:fs");
const solc = require("../node_modules/solc");

/** Writes everything, also to a pipe that is full for the moment: a cut answer looks like a compiler crash. */
function print(text) {
  const bytes = Buffer.from(text);
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += fs.writeSync(1, bytes, sent);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

if (process.argv.includes("--version")) {
  const version = solc.version().replace("Emscripten.clang", "Linux.g++");
  print(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`);
} else if (process.argv.includes("--standard-json")) {
  print(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  process.stderr.write("tools/solc knows only --version and --standard-json.\n");
  process.exit(2);
}
