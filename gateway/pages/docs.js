// Starts Swagger UI on /docs. A file of its own, because the page's policy lets nothing inline run.
"use strict";

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null, // it would ask a public host
});
