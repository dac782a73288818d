"""Training for eight bits: networks that compute on the grids of the integers that they will be
deployed with.
"""
