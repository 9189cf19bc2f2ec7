// Compiles a contract that stands in one Solidity file: node compile.mjs <file.sol>; prints its interface and bytecode.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import solc from "solc";

const path = process.argv[2];
const file = basename(path);
const input = {
  language: "Solidity",
  sources: { [file]: { content: readFileSync(path, "utf8") } },
  settings: {
    evmVersion: "paris", // understood by every chain
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false, bytecodeHash: "none" }, // the same bytecode wherever it is compiled
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const problem of output.errors ?? []) console.error(problem.formattedMessage);
if (output.errors?.length) process.exit(1); // warnings too
const compiled = output.contracts[file][file.replace(/\.sol$/, "")];
const made = { compiler: solc.version(), abi: compiled.abi, bytecode: compiled.evm.bytecode.object };
console.log(JSON.stringify(made, null, 1));
