// Counts what it was asked.
let count = 0;
require("http").createServer((_, answer) => answer.end(`answer ${++count}\n`)).listen(8000);
