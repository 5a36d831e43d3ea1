"""The clients of the API: a wheel for Python and an npm package for TypeScript. They share no code with the product."""
