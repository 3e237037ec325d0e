// Where the model server is: serve.py answers with the port that it was told.

export const HTTP_PORT = 8501;
