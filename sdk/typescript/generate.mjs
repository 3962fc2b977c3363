// Makes src/schema.ts and src/routes.ts of the text of 'noid serve --print-openapi', which comes on standard input.
import { writeFileSync } from "node:fs"
import { json } from "node:stream/consumers"
import openapiTS, { astToString } from "openapi-typescript"

const made = "// Made of 'noid serve --print-openapi' by generate.mjs.\n"
const doc = await json(process.stdin) // reading descriptor 0 at once fails while a pipe has nothing yet
writeFileSync("src/schema.ts", made + astToString(await openapiTS(doc)))
const routes = {}
for (const [path, methods] of Object.entries(doc.paths))
  for (const [method, op] of Object.entries(methods)) if (op.operationId) routes[op.operationId] = [method.toUpperCase(), path]
writeFileSync("src/routes.ts", made + "export const routes = " + JSON.stringify(routes, null, 2) + " as const\n")
